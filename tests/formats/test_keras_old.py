"""Files of Keras 2. One model, saved by Keras 2.15.0 with TensorFlow 2.15.1, which also gave the answers below:

    x = i = Input((6, 2))
    a = LSTM(2, return_sequences=True, recurrent_activation="hard_sigmoid", dropout=0.1)(x)
    b = Bidirectional(GRU(2, return_sequences=True), merge_mode="sum", name="both")(x)
    x = TimeDistributed(Dense(2))(LayerNormalization()(Add()([a, b])))
    x = Sequential([Dense(3), BatchNormalization(), LeakyReLU(0.25)], name="inner")(x)
    x = RNN(SimpleRNNCell(2), go_backwards=True, return_sequences=True)(x)
    Model(i, Dense(2)(Flatten()(ThresholdedReLU(0.1)(x))))

with normal weights of standard deviation 0.7.
"""

from __future__ import annotations

import base64
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import answers, filled, load, refused, rewritten, save, sequential, windows, with_argument
from tolerances import FLOAT32

from lstmcore import layers as L

WINDOWS = np.round(np.random.default_rng(1).normal(size=(2, 6, 2)), 2).astype(np.float32)
ANSWERS = [[-1.075666904449463, -0.10606229305267334], [-1.8976659774780273, 0.17759954929351807]]

FILES = {
    ".h5": (
        "{Wp48S^xk9=GL@E0stWa8~^|S5YJf5;K(-);9USjk_3crdV6<D#AZ)w9S?G89vI9X`O#x>dDYOJmo-"
        "?x$d!rFldIM;kvh8*eve%Qe$}xX?U!*H*5^<m)GA-"
        "1(E!Qw7sHGz9WKH|j&H96$gGgvCQE^0y@HUC81~$R<1V$c%6ibxUbu&Sl~O#*sB()(^LJPM6cGPiKD)h#KnBi}0=IK0m<hAqUiip"
        "dkczG5YqyH~b!5JaV}jy2Ml*_Abie6m++~n_ZL^gCbRu^2Ud09uDi9aPA%G?$j1&DIo4K$TSQT#pz?2P<p<Ct8bPRL@c5O}W7abu"
        "?&1rS2=t2c++#Zp&x|YR-"
        "=)22~D`AXTscAV7$%iTa33aa5ODV}Sk?}Oep3T#ZkTYO9KIA6Lt*>Ybx?f>p%*i89=2G_^SAsZ*fSxx*$CacL{seg?jbsl;4W5%K"
        "dN4H(b?;SMYer9&C~+!|dq;ac7qOG!;NrMujJb>V!U9w+IBZOz=G)#M%+onNEWIch$)d`D(@dvNh?HBE<#opRpL4B36Klq8ZtEMO"
        "5i|iQ*FjeU-<r)~WvsCrvJzu^=6k|jj3>i#E`834&S>L;i^8!>rGSbAU-iHRB&2x0<O=Y(K^le&gM07Tg!y0F2sJ7JQWa8Q_@U-"
        "nKXTi7AjghXOP*3tnJeJiyA7vBqFzQ6j>^KvQNi<Dw5hwkf5MB{GzqV-"
        "0ugL)#W&|6>RL=vn27o!Vht;;RN)KwMRYau{UquM;PpUVvxxJB$RT&GbF~QKfc%Eg;!XJ6@1^eye<ZicN(}A}4<H3$eLeqJ^2=nh"
        ">Sy*>OS<yy3INeYt?KZRRv@myG%<dnk{!1FFWI;Lw&K)U2SY3sBq>u}d*BLJ#-"
        "bg0;j_*o3=dL~Ru?|ABRA1n&e<(dh7w{dep3Ir%T4X<Og`U9ETdALmlX>T5yZ)HK@($W;2<v!cgaNY_8ow7@B9VOBj^jshz(-"
        "45=Plyb#G9m8fdBAmbK!<gJLw;Py{iHmX;N$6m?6Uwfsf@9DbZp)O+i``7cv}ivqoz>am&aWQS~D-"
        "`<JI=_L6!aZhDKNP3{3Gg`2?uc^&Z`7*h_q<}iQXLERvrX$6-Tm@Chcc<2pjY|)dxRY)i(0T-"
        "+tAyY@DCLkZU3@b$xx`viyknJ+o``hFsAA_m1Cva0t9n^lgRIXRb$yF~{j(dY-sTj|lD#Io{GW#4ewx_(G;svaln=;po`2SSz~xq"
        "3^@VF8wv<x;bmdX|#?r*2W3mF;{a7y0r3JfbKr>jlZ1gEe79agB7rh1ZXaVY2lFp`LLbgS#^Us5@X+;o3v?tf}yoYphz^JGaV&0D"
        "nB^LYAy2@e*rWpGrgjJi%!-"
        "Rn%*KINQfx7|qh2KlaZud_ReWl`Q#ItkUWd@z|(EFIw{bF6;ak!}|WWG5?;s|B_yLb$;JfG87>d1*!ZTWR+BLb(9-yXrpaQ0wRP-"
        "F=-"
        "DcSUrOCy*^6&dtiam^gM7%;)Ka>r|7lnV4xob3Q=;V}G?uOvog7W}G7HIN2@0w#h9iRj|5af_mWzcn$KM%?3Gw0$Nn&E=Z)eje-p"
        "UzE4t!_=M9%aQ(@F@SL@Mk)gwFNP|!=1BOFXinCQ6wDFzF+{Dbiy12Y2j<X@pr(Xz_oM9^he%<CikqqkRLZ%?>q?Bo#Oy5DLaSyj"
        "Tn#0WP8pw)!o0hn2q(_Y)52WN-"
        "S5x5of&%yu$E$5M`TN(5!Ns>>;dd9dGn^p4qU#{>%PMk**cuAC#xsC6{TXerqvC_TXH%LPMt04T3*UNGEd&f223?zG{j{*gR@7JQ"
        "Kz=iN(V0H#DpTAu0w1Viw@04b=cR9bZ(V7=rTQWhlB1(b-m#MI69z*u1MccQv0m0vWXAB)5n+~m@~x-"
        "D?G|TuTPM_J)=I>s7NUZAz-"
        "5sOLs^;N?X&Q_hL#%Q#i=P_EUu6MqS$0(i6=OJB>$W_8X<>P%1)pu1B?EGRMLR<)JaTMA$t!OyJ3JJv)HKwq+7YU7*3Zk+G6giGI"
        "(wG9Iumv}XQNtlLf2)b~k(KFDN6#=1lWzx4n-r;hA-owGt!6gA~W@nWir1KhLkB`Q;mfh{Yso<#x|De>z?A7inRI-"
        "E6}Ij1~0w0ws`^+4QVm?;$0ktlp+g=zw(*Y7_gdkA}Jtr&gfIgX{B5Cl(iq+?ZuYgLCIyc<vD0guy8gk3vmkBZb$_?y0J-"
        "ZQr6nMNef!}&uylFPmP?7@tkB{x=$EnTeenIVui_2$(g!+h_B0O@;C<j5t#&08~is)j-"
        "#M{C6217%EzW#ud#!+|&jBa#`s;Vv9v$SEf6@NjTtXRqWgUDn+QxSfzu)6pJvw(*gXc@d@3e*bCZqgH!T3P7dOjF_KrEB2*4^)WZ"
        "^dU4ZF^_C(OTHIwYaRWvaM`R&Ok!#+x;xm`o1-"
        "mS5gYj<@8zTv4Gob5%4k!q!H_n`$(V4IM1EyLIcPvC6s~02XUr?mAD}E8F@*W(I#e_R=*qKA4x|_X50<Bn|F8^h|8+cuJIsY$_$a"
        "-wAjBEmSRHBdHhPT!9GaxEF_)08)YE`Hp3dxyjW)-K;0%YQR<m9vp-"
        "B5FleJ!HF?^`gp6Z=Yz2Ax8|oY*IVf>7lTbd<6vAs5MB%P4fr#E7ofmERkxpg{vl$>;gr_5Esr?d!$e%(rrn*z1+U7on@m@j#8mp"
        "N}W`LYCiRy6-"
        "duuhrhvwl$lbS7d{qoL!%e1e5e!<*~5QynPV%Jc$xys2S&c9;p(!1QgZstN*Zp&ebgWJE!~kcdTKzB8KX^obxYpM6Rc3m4b9GpLi"
        "oE2~Qa!wk-"
        "U@=WO)`aRcuw6#alel(ROFu>FtKp{~*(+|c`Bi6tEoGkjXGa+=R99ukP|lVl9rKR`V=(#@=fK|t`WhZ+NRo`%Pw<>Kcn5%*Pyox`"
        "!tt=|Yg_2`M~K10BAk<>#bMIjW7lD$QdAi9#HBy2!!LryjIsv~bKDRXhEvE+a?u=|`CO;N+RgQnwba*pa)33SeGZBWbNbjt1u$D7"
        "erRHA83(MN)?hbAbNf9wf!B&!$4%Yxjea}sp2asFOclFn(J_!1lbN)5razUIM8;$nvlnsdDuKJ5XI^uGn%CK&n*4!<(8vA;EDvEi"
        "7$4~N|qG`bqH3L9wL;9MwT*hgPO?=e%u9I%G<#Mc;X`*uoKTNSnOz*DTBUDC%HB7aMByR~o<Z0s-"
        ")5tCTDP&=e_I+!9K&s=Knr$a3ODA;x-+bo4M{^y-M)5Gemb&x|*ig$w{DWxnRfBnpV|DeE$&okqi-uaembZXMnf+@)Owmz=oyE>Q"
        "~!nhI_Y@$Gfnr7T}Zsr%QgZ_n$`nY<#%PhM&(gCeldDkW0p8Ow8#RuJmA^=~KwD6ErHw)p7Q>%^*50uN|>_5YvO2h_}sS2_MIvzI"
        "BLqEp~M|O3tULNA3n-"
        "^&5^M%>$)V5II#A{qR&h#P8UCWXMKpA=M$F;_!MTl`o>LrOb?l5`5M8jnU@wj#aXF+QD5K|KDz<Pa{>H+L8t?TQ*Zs3=;nhqNlJ@"
        "idAqz_Dpnod#p4v~X*_P-q$ZQW%lz%rT$+rV}s;A+d-"
        "9d~tnK_gV~A@jX6=*oXvLsuu`;4dAgB2K3%aA)7!x;L!ZX(p_}iszYw5YZB1)eDUu!B#27t|-"
        "*lA88Dhf5e<ux$(eZFC<5$nT~p3nfcVJZiBIa5EhQ~$bCK`Xv`;C+yY;B5`e-"
        "3UtoIBngjMN{`6s+0wmI0;777OPKb?4Iq)3Mv}Wm(CKRAtxV<j6L4kpN7!dfIJM=3l9U`0hd>t@KQq9g|%vlbjR1&~DL-eRV04a4"
        "=FW5Dt^qJT(u6(AB_p8DmpV11>(vxx;s*_)x=s5Ci7thfE=<Zm*I3vsCm!kLO|LI&N3VJn!&vGMQK>t3^9&=Igbyhsso?>J1dnS}"
        "oPa(-1c0)JmdH<~CaV)Q|zBu2d(+vjI1Rsz*uc|HrpYxoX<x8oP?>eJ2klL78xLUM*o$#X>C)Fz<79?-<&{b_Sm-ywW)&T)pc`~N"
        "@r${Zdg@E69As(v}%`&7%7B%^zKE@U1Abt3u7zdCO^z?Xnc8;D;B8ms7dG()?Z0!_BpkH4?<@U<Eb~lvw((mwaZXgQ2qP{W&-"
        "G+F9MU0P$ei8S@gvPzOx{xD_cz$j&=Cf%#Z~oZxhj$l=3~(yXh)!XaFK&A{4mZ4d26giwfm1avC+BFiJ~bwxyve_Ox_4Ua1LXKFx"
        "W~PpaW&CvvgD5Z?P@Mcq}OjkpHkGyJW7v7y^?Q(smrWC<!GIp`;wgN$iF+^+&7Qq6H9(lX&D(}t=*up)}D}Gbz*maLdIji&o2q-"
        "*o>|6>=el%No6Ip@;<}Z;o2Xdi^6a4kR)`wg`EaMm+9~r9|8S0S0#@f?+!X!l^byz4IMp@e2qJ|!wY$ruQ=6R#>E{X^sa1_xMIl^"
        "y5()d3sl*VzSsMwq%h~J(!bevH>JDI0HKC}D5xQOSzA~@n`V3UL;xwD!Mnx__+08=CGdk(vYLhCVRUrH+!Z6Dy&orJu;*4~D#Mv9"
        "chI80kcde39*pkJ5^xRZUj9NsgtDh`#=>8Nap%KlHhCh)G926*S<JqxB8&Lp*hM%6V95NhjT}io{RnZerRforLVT|ji!)ENG{XD+"
        "qIqhJeV%2jb{NpiZTP}XuC22|kTdS0<-"
        "ZLx!|Mdmh4u9Vyj}*R;Wa~fw?%1owET_1hvpRxJ%B}6re8Wj@u6BMjWipp+!k?nNCB{r+*y-"
        "7aQGED7&<Om<c&eY{VO+_G#g49SWjb7R%s-"
        "nnXB9)b=!2J@(o~rR?RuNEL4>>9hm^k`O5viOju9IbL5bHfJtWPWPx99Au?BX8qrVz#RottOt;Jw@B*p;Q;DO7&2pC{1u*^+k*@?"
        "Op4<diW;EVkmU5#A2PFW%RHT6K=~7UKPxUT~K>D?Gpj`!)B@A6$&u9|^Lm&n028bMJPGzS6j3zFC&rUyb00I0RxR3(?%F~TEvBYQ"
        "l0ssI200dcD"
    ),
    ".keras": (
        "{Wp48S^xk9=GL@E0stWa8~^|S5YJf5;QS5_#$5m?61-q2m(_Ag*eh1z_1uTQ=m*Q0`=*MX*++-"
        "CV*!5Y(elVj_;m9%R*UF)z=zq(2<dtbf07e2Ca1)xD7bfekVu-"
        "9e;auCFMtskzc3^kr0(VPRrVi4;yeD7HlFMn?LRRao1aM{qLVld;EL%1;>Nqkw?Ej)eiqYXkoX}m^Fvb7{C`Vo!^&>J=mjd+A>TF"
        "e-"
        "42rTQ{g|E72wdqQNbwIKieL3?f++`wFOjxVe}HH%hkBrG<$GbvT951zmAK&*GBoyneh(Z*u>bKFDfe5EsqQCxS$`vZppBWx21REX"
        "xE8-tQs`v;PZvm%!HV>RH^+;X1(XiktwPUilAy`S;vXl3npA*s64V^H0}&54n$h(<`g)>-"
        "D<qjef)A=qoCeRxe&8XUe+FRZM$RxP9(wPPNyiD3e5A^-NIf#KsHZ0I23lPze1HTP-_t{uY5w=;OMRE55Pthbh~vURl6Onow7M)R"
        "U;f)Wdu2KqsSpriaQn0qp2XWg?L6CX=bE>ZQu%o7Mo$UV2G=_{Tia6u%nz=;p6hVr9}Bl4HwYRvgr~8@3ITT(5pMVx;TC9UIYaJ="
        "hkQ>EdtsQ;+54Zo@*D9*C&|OJnkjZ=6tR~B#;)v%q=G%$jWXs9OBn&{@XeSsPYB};{dFMRQB=d^0q7A=@#|SA$LwKFjZEFM1sn;w"
        "kAm~7aGwb<3-F;vg(fT2#u0PrXib|O~Cez-7NqnOr=vBNvFw<h9?@m1-OnE)g^`C8=ADGWL1Pf==+!iFMtzL=P=sr-"
        "L(SaB|QIXLMQ#$5b6y*6gZ!l1LeKeOKidAnK6vLc>~K~%fUUKwjt+C^VG+--"
        "4ND2Cxd|U3V3)t;<5iGjvG2UEj+d7`Cj;?>}s`u0@M|iL3_OPB3On5sw2}{zVZj+2Xj>8!x)6St`@qkE#6ufeAb`|WpR;@)!IK|w"
        "K$Fki{S%m0o1a4XoC=%5y~v89hWDJ9%mVV$7s{_2>x%Gk!IR(NZuV`SDB8vxfb})f%E&D3TiYaIpf@L2zl@!dLIjR$(%4)ulrQkW"
        "0|08PaC|T39Q)-"
        "uO%%!7x^)|c357TcDaT;7W3gzEEA7r5^}~VL!cqoU;b9aZ4=Bb^E$vFY3{(c_8hMc;m!C%VwVA~4<nj;f4+S8zv_!81gSL1jA&E9"
        "(dxnXpp}N5074b$8K@%3IH8#;n3nBt_6Y18ZXlmz*Ew2$1*j5L&Neb-t7_(=U79A{N&B&?nB!{H&MyBK5_j$Kl-aJ1AgW~z7pql!"
        "jt9u=da16SmM%yVuZ+k+Y!}2jHlc@)OG3-"
        "emoqZ;ns}u;GEZ8r1OysmqE!*YEN|Ztn#^`a#GZ(eBDWo(81dSy|1b+&5d8||$_N)gHufDRz8IdR1NVZJP2mv#9ZWDjF`tO0iznG"
        "2?S1LSOAOW3-"
        "4dzlXfN74MEzGTLz#0lW+ZCZYlo9wxK=xH$r?5hYnDq%=HRrDx7)4NVD`ZaVpg?xtYaObVCpURy*vGvx`oNyyL?w48kblF^!c7;*"
        "uv@ABgD`yrg6D20!@xO*>5-"
        "r%p7f9r)J=Zs_}9cBR`<;yY`cc<Nh!`ql*K0BgyClX)MjVO<rNt#)CheNHDxe7BHy*W~sS23ZAzRxfk%@wP45LaeZ+wWB%`42vs*"
        "MHlH&j_)*>!suin*#K|P4;kk$MEG6p1QQenP&2-!gy>sqnbvb-"
        "wG4*XudCIW8Av!vBF~@`r3~BWAu&%JezwEFCzLQTw1v+mm!qi=L2<rAsIv;{p3CnW-snN5wdRk~AYzJj~ZW76|_>Y#Gjd3cuDOti"
        "o@~r=GjoB=!!6WdyAznQl!aV|t*`HdujBPZmuYJ3-#^%JdYN?Vv1R%spCey+f^-x|-*7<GUZA-vO$B|5Ec<Gfe1Fsg$n!gt+1L&c"
        "k<3DfWW!UJQ@FI6F>;*D@qFKPwl{J^mIBL2|(GvKAybpbFCA$6xP<7#7^YG!__UOw<lsYAR8BRD$4~w}ONlTl~xr@JoS;aP%BZi&"
        "nyt_>{<+2xBCgYX#fiYofUA}=d{R&}+=chuRslCjkC$lSG8PY?c)UDzImFHQc!+8F3W-tA%kV|?pr-"
        "7SAGZ{q0^~{xm*vq>ZF`X1Ytaf28Qq%9+I<=TcTU>Y?ngjxNOM1JT?(!PZo0M2F161CkJI>Z{W+D(kY!Y|S^tUls%RE*!Ow=mmGr"
        "QA-"
        "6I+S~3$Ns?dO}r=C`@4opBXRqWBMO`ctw>Fl<mHflc0Wi!*dcI^7G7MW{o*jCC9vRDY+C|GI}7+2*B6hkt%(0b^1;Y4alPgJ(@qf"
        "Nt#t77VDePo-13*UHrbSX^~sP<OnpaR{n2Ho@9@Y8-"
        "*ppH~#MytS7r=RqkbQ`ZA?==61T5nLpn|vJ|#`C;w`)?IVxbd|PMl6C7;<rCG53NV58H)H6_Tm<$}Yan-"
        "<1X%>OPt}>}SM8F>ZGPJM!H^tF8z*!u^iQcDeF4u%oMM=vSLI97<qbD-uW!ZByS3|D6PnMaN|L2eW{0%n-"
        "PFRMkm#ip9znKy|U3y-k5S;NK;SV>-"
        "5k`(3k2R#z%MNCtp5`sr$Of7?pCl1m<sy&pLL1UTO|!5?i5**LjtlO4{XZturPq{Mmu0}aifV`jWG-&_(Mj>-U8EW<5;2Q?-"
        "!IEuyw*FkQ1l1(UkxAFnGT{B?;Q^#Jw=jezaxfYC3@7NQCR)zlYK<mizTxpoT--6PyFtPX@id!61Sulxo?*JP%%S`G86E~pVX-"
        "(t-"
        ">0;IP*FTEW23{LJ|Oj4U?MV%5mI8O_&?N>q=vxn6)}Gkw3R{tQGR3nPOx^{Bk;a)5lA|H?!UhU{y>Hbxn51>?%o1u5{jsPd}bzEz"
        "oC-`8w-"
        "<SW}`JFu(gS_&358$Z55M**}5~=h54?>mVV7U+=|Z;mhD0CK?kFfjx?&t=WpqhIO%@wo88TAsy6GejL(x(w%zLV^+d7eY+3v)57!"
        "BL@$K>8)G^vO#IHlVioQ?#x(P-"
        "#PbnMaZz1UCpagSf}*YG|LN^u=WrGnb}A9kZ*#zC9p&GGEl0r1unCl9fS_dR5C1Gv<6}KLkJO0gkXBe%!;U02c^dgaXi+r0dot!5"
        ">NWVB^BHn%d8yQ=5Hrnk`=+5Z9Ilpj($oW_qJg`OE~;-2O^*iYD{S2q4J;Vg4{x!53E$4%*U3h;z_Y4Xb~oaS`0h>19G_!0wT3-"
        "f%ftX0rRJrLR7&l*zqGx4y<`Oq8DnOU<=!{0tgI?=I{IZdPAK<%Lt_t<h*U1!?u~I2Y7;TbK(+By{(9-"
        "_n*8yyL81IBLtf7R=em4kl)JX*&1!u;Tp*8`{9j~T4^@V!vYW7p&(*_P&*UWZc<^aa>wRZsdYR**q)_hlEOX1l*|>Z!b+KcQLpSY"
        "7t~GG46I9ZKPV!J^Tk~CcoG@Q#DcM+E3Qw=8izSn1D?d1pYbBA*2wWBttr+jP2_pKd7E#uA<?`L1f7bjaccc*9SV2RvxUPKGBDt4"
        "(Kvpc73!GLb$+jQuZe@n?x$vCQKM;;&FZ;?@^XK*1#JJA#0S`2g&;WRLyLKVCIiUeYk@iqNLuH$5e;i4rLbA1)nCZpy5(sOVPzq6"
        "ZTy4Gs4Lk@AQ`I_?J+XpcU#}wR0YQ^YsLQ7`D%o_6a<f&8KVfTPFc`!OLpD3&r?!Kf#-"
        "HCx4dBY7<+%aMLGBFTtp;$pp#O;zKJ8n7inGc=#<p}KN}U{$!JeAlulY{q458EFkv|bL!1>-O9(8~HMBKy_u6*tSJIl8-"
        "#s5BpAd~6XU+<P05K$F>ab=}CF1QmyA%~BLg>^vwEa@n0Zkt=z^Qf}%Ek`9CK{VFy9Tl(DW33q)=QF~W8qQ+9ns}{xs?rjl)IcKA"
        "(02^QcSqI;;)$^{|Lk@8<{pE{c+NYdElXO?-%q2TSq@94)DyA_)xa>Af_oQZvR1-v-"
        "2M_VNXnnmGbZoN1gdVjD~A|4Y7Eo7454YN63U{TMR`ex%s*>|eP_>SE@^8K@m^}p9u|-jWO;GqNaTB1z+F*h-"
        "m@d_`bB(QFw_MX(~+RfR!xWZRzn|AS(5;t20Z`PuVcc^$JZa(Zn<sqbREd9jV@~2!MQa&z&}XZPp8wEA1S%R$t1J)u2luKe0k+}1"
        "*|p{Avb83iHbidaT_k~#j0+{lvKwABul;FzWGRAa_|Uv+NBUbmHl~Ey1sumh`A<*E3mSfR2K&@F0$!@*WL7GlPW4}8D`snfMS0G1"
        "+JSuq+SfRUu0Qf(zIh!ql#PCKMd^3USYXI^RJF7OBzwh8&Oec!TI&rDIEuXfY}V3jJemjhpSb@vRPP(z?GzMzZl<4ov_0!XAwUVr"
        "N74Z?nmV@3mX}@`snF}D$F!6WC>OGXJlp40cX6Jge_O9RlY2hA?~?9^iB4M^0g3h%WCHBAZU|sK`Q<-"
        "a|>n`A@CajnAknQaL_2tOWs26%qV$#nc?eZG)}u<FvW1I){pJ*NC+?4^~<;qA9{4s-"
        "Au**9&<@jE5l~@`4!ho8mD<CPc8(U6`7RT8*TnM%yZVul_xB#)G6X3Nqkw;3S&l%AZpsEfJ#|qfBx1JhofUmF{-"
        "4F%tgN0nBGOpyw&p<H$a=8HjVYSH|N;Bxmyi%Ly)B&NrFCbClTfrc<#y+-cq{r-"
        "T#8tDqsDB7cmLVaOk8@Mma%#B(O;jwDd{Kq)wQ}4uX1ZKMQHUT@$Hu9Xa}ThZcrs@oGxp+kbj>@o#Ra_7`X?iO)Fmso!rdD-"
        "9Nq56^4C3joq)v!aCp&mWWzy6x(;m<?WeGQvMkcUe1WQed!<_=}BxCYUInTHIMt;@tTHa8ThV=SXorEb#o{5#~pk=E%1dU2s`a{c"
        "<w~;`mx&{YoS9aT}4~Q%~@>4a*j%blf)!jtPP6oeUA<fK9J35LZ3ZcZUcTZ~y=RpfvpTSC#5u00H71kN5)sq3UTRvBYQl0ssI200"
        "dcD"
    ),
}


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / f"old{request.param}"
    file.write_bytes(lzma.decompress(base64.b85decode(FILES[request.param])))
    return file


def test_answers(path: Path) -> None:
    np.testing.assert_allclose(load(path)(WINDOWS), ANSWERS, atol=FLOAT32)


def test_functions_that_meant_something_else(path: Path) -> None:
    found = load(path).layers
    assert next(layer for layer in found if isinstance(layer, L.LSTM)).activations == "hard_sigmoid(0.2,0.5) tanh tanh"
    assert next(layer for layer in found if isinstance(layer, L.LeakyReLU)).negative_slope == 0.25
    assert [layer.function[:20] for layer in found if isinstance(layer, L.Activation)] == ["thresholded_relu(0.1"]


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [("LSTM", "time_major", True), ("BatchNormalization", "virtual_batch_size", 4), ("LSTM", "stateful", True)],
)
def test_arguments_that_are_refused(path: Path, kind: str, argument: str, value: Any) -> None:
    refused(with_argument(path, kind, **{argument: value}), rf"\({kind}\): argument {argument} is {value}")


@pytest.mark.parametrize(("kind", "argument"), [("LSTM", "implementation"), ("BatchNormalization", "fused")])
def test_arguments_without_effect(path: Path, kind: str, argument: str) -> None:
    before = load(path).layers
    assert load(with_argument(path, kind, **{argument: 1})).layers == before


def test_the_first_layer_may_say_the_inputs_shape(tmp_path: Path) -> None:
    """Before Keras 2.3 a Sequential was a list of layers without an InputLayer."""
    model = filled(sequential((5, 3), [("LSTM", {"units": 3}), ("Dense", {"units": 2})]), np.random.default_rng(2))
    path, x = save(model, tmp_path / "m.h5"), windows(model, np.random.default_rng(3))

    def change(config: dict[str, Any]) -> None:
        _, lstm, dense = config["config"]["layers"]
        lstm["config"]["batch_input_shape"] = [None, 5, 3]
        config["config"] = [lstm, dense]

    np.testing.assert_allclose(load(rewritten(path, change))(x), answers(model, x), atol=FLOAT32)


def test_other_versions_are_refused(path: Path) -> None:
    if path.suffix == ".keras":
        rewritten(path, lambda config: None, **{"metadata.json": b'{"keras_version": "4.0.0"}'})
    else:
        import h5py

        with h5py.File(path, "a") as opened:
            opened.attrs["keras_version"] = "4.0.0"
    refused(path, "written by Keras '4.0.0'; read are files of Keras 2 and 3")
